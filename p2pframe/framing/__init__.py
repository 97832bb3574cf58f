"""Library for conversations of framed messages: bounded buffer, parse loop, dispatch table. Without I/O."""
