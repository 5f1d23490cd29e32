"""Where uvicorn writes down what strangers send, which is nowhere.

It is answered and counted; a warning for each of it would fill disks.
"""

import logging

PEERS = logging.getLogger("uvicorn.error.peers")
PEERS.setLevel(logging.ERROR)
