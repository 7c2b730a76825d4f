// Calls to the server. The token stands behind the # of the link, which browsers keep to themselves.

const RETRY_MS = 1000;

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

function token() {
  return location.hash.slice(1);
}

// Tells one ranker of one set of items from others, also where they came to the same address one after the other.
export function place() {
  return token().slice(0, 8);
}

export async function call(method, path, body) {
  const headers = {Authorization: `Bearer ${token()}`};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetch(path, {
    method, headers, cache: "no-store", keepalive: method !== "GET",
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (response.status === 204) return null;
  const content = await response.json().catch(() => ({error: `the server answered ${response.status}`}));
  if (!response.ok) throw new Refused(response.status, content.error);
  return content;
}

// Asks until there is an answer: a server that is away comes back. What it refuses is refused.
export async function insist(method, path, body, onTrouble) {
  for (;;) {
    try {
      const content = await call(method, path, body);
      onTrouble(null);
      return content;
    } catch (error) {
      if (error instanceof Refused && error.status < 500) throw error;
      onTrouble("The server cannot be reached. Nothing is lost: your order is kept here, and sent when it is back.");
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}
