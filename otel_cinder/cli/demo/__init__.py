"""`otel-cinder demo`: real Cinder, one volume, one trace.

`command` reads the options, `run` tells the story, `cinder_conf` and `processes` set Cinder up,
`one_process` and `driver` run inside Cinder's own processes, `broker` keeps a shared broker clean.
"""
