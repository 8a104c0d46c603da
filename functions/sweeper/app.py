"""The sweeper function: what EventBridge has done beside the requests."""

from phigate.aws.sweeper import Sweeper

handler = Sweeper()
