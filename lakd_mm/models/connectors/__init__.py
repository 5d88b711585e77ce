"""What stands between a record and a loss."""

from .cam_connector import CAMConnector
from .margin_connector import MarginConnector, batchnorm_margin

__all__ = ['CAMConnector', 'MarginConnector', 'batchnorm_margin']
