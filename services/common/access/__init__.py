"""Who calls, what they may ask for, and how much of it: the access file, tokens, and what an interceptor makes of them.

Without an access file everybody may do everything; with one, nobody may who is not in it.
"""

from __future__ import annotations

from .caller import ANONYMOUS as ANONYMOUS
from .caller import Caller as Caller
from .caller import current_caller as current_caller
