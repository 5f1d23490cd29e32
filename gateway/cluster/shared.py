"""How fast replicas go together: the one door before all of them reckons with that."""

from gateway.engine.turns import Pace


class Shared(Pace):
    """The pace of one replica, among so many that do the same work together."""

    def __init__(self, pace: Pace, num_replicas: int) -> None:
        super().__init__()
        self._pace = pace
        self._num_replicas = num_replicas

    def sample_seconds(self, steps: int) -> float:
        """Until the replicas together have done a sample's worth of work."""
        return self._pace.sample_seconds(steps) / self._num_replicas

    def turn_seconds(self, pixels: float) -> float:
        """A turn, to which each replica's part of the pixels comes."""
        return self._pace.turn_seconds(pixels / self._num_replicas)
