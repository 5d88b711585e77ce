"""What stands between a record and a loss."""

from .cam_connector import CAMConnector

__all__ = ['CAMConnector']
