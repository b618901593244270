"""MongoDB's wire protocol without sockets: frames, messages, compression, SCRAM."""
