"""Networks that let a test watch what they look at, or make it go wrong."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from zoomdream.network.catalog import network_info
from zoomdream.network.layer_objectives import Target
from zoomdream.network.network import Network, load_network
from zoomdream.network.objective import Activations


def watched_network(on_look: Callable[[Tensor], None], **options: Any) -> Network:
    """Pocket with its own first layers; on_look is given the first one's activations at every gradient.

    What it raises is raised by the gradient. options: as `load_network` takes them.
    """

    class Watched(Target):
        def seeds(
            self, activations: Activations, channel_weights: Tensor | None = None
        ) -> dict[str, Tensor]:
            on_look(activations[self.layer])
            return super().seeds(activations, channel_weights)

        def strength_seeds(self, activations: Activations) -> tuple[dict[str, Tensor], float]:
            """As those of a whole layer, unwatched: what is measured before the first gradient."""
            return super().seeds(activations), 1.0

    first, *others = network_info("pocket").layers
    return load_network("pocket", [Watched.parse(first), *others], **options)
