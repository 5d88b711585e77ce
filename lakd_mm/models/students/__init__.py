"""Ways to wrap a student."""

from .gradient_detach import GradientDetachStudent

__all__ = ['GradientDetachStudent']
