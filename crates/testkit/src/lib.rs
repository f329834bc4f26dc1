//! Development only: the binary under test, scripted origins, raw clients.
