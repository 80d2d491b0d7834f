"""The local platform that the demo and the tests stand on."""
