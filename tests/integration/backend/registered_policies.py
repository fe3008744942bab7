"""Cinder's WSGI application, cinder.wsgi.api, with its policies registered before uWSGI forks.

Cinder registers them with the first request and without a lock: of two that are the first in a
worker, at the same time in two of its threads, one may find them missing and fail.
"""

from cinder import policy
from cinder.wsgi.api import application

__all__ = ["application"]

policy.init()
