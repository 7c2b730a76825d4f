"""What most teams run: FastAPI around a Hugging Face model, one forward pass a request, padded.

As OpenRLHF's serve_rm: the event loop computes. Runs in the environment `fastapi`; needs nothing of ours.
"""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI, Request
from padded_reward import PaddedReward

app = FastAPI()
model: PaddedReward


@app.get("/health")
async def health() -> dict[str, bool]:
    return {"ready": True}


@app.post("/score")
async def score(request: Request) -> dict[str, list[float]]:
    content = await request.json()
    return {"scores": model.scores([content["question"]] * len(content["answers"]), content["answers"])}


if __name__ == "__main__":
    directory, port = sys.argv[1:]
    model = PaddedReward(directory)
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning", access_log=False)
