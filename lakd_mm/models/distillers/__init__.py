"""Distillers: what holds recorders, connectors and losses."""

from .local_distiller import LocalDistiller

__all__ = ['LocalDistiller']
