"""Repairs Gymnasium's BipedalWalker, whose episode depends on the episodes before it.

It destroys the bodies of an episode and goes on in the same Box2D world, whose contacts and broad phase keep
an order of their own; so a seed gives another episode in an instance that ran others. LunarLander had the
same fault and builds a new world for each episode since https://github.com/Farama-Foundation/Gymnasium/issues/728.
"""

from typing import Any

from sacpipe.envs.gymnasium_layers import Layer

_MODULE = "gymnasium.envs.box2d.bipedal_walker"


def needs_new_world(env: Any) -> bool:
    """Return whether a task goes on in the Box2D world of the episode before."""
    return type(env.unwrapped).__module__ == _MODULE


class NewWorld(Layer):
    """A task that begins each episode in a new Box2D world."""

    def reset(self, **arguments: Any) -> tuple[Any, Any]:
        """Leave the old world with all of its bodies, and start an episode."""
        import Box2D

        task = self.env.unwrapped
        task.world.contactListener = None
        task.world, task.terrain, task.hull = Box2D.b2World(), [], None
        started: tuple[Any, Any] = self.env.reset(**arguments)
        return started
