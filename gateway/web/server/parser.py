"""HTTP as it is spoken: h11's parser, less strict where the protocol asks for it."""

import h11
from h11._readers import ContentLengthReader

EMPTY_LINES = b"\r\n"


class Parser(h11.Connection):
    """A server's side that is silent of empty lines before a request, as RFC 9112 §2.2 asks.

    h11 takes them for a malformed request; old clients send one after a body.
    """

    @property
    def num_expected(self) -> int:
        """How many bytes of a body are still to come, where its length is known; else 0."""
        reader = self._reader
        if self.their_state is h11.SEND_BODY and isinstance(reader, ContentLengthReader):
            return int(reader._remaining)
        return 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """The next thing that the peer has said.

        Raises:
            RemoteProtocolError: it is no HTTP.
        """
        if self.their_state is h11.IDLE:
            unread, _ = self.trailing_data
            num_empty = len(unread) - len(unread.lstrip(EMPTY_LINES))
            self._receive_buffer.maybe_extract_at_most(num_empty)
        return super().next_event()
