"""All knowledge of Cinder itself: its services, requests, messages, objects.

Imports nothing of Cinder and takes whatever it finds: attributes that a release lacks are left out.
"""
