"""What is known of Cinder itself: its services, requests, messages, objects. Nothing else knows it.

Imports nothing of Cinder and takes whatever it finds: attributes that a release lacks are left out.
"""
