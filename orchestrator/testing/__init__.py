"""For tests of other people's images and services: fixtures of pytest over real virtual machines of a vmrole host.

plugin: the fixtures; pytest loads it by its entry point, and nobody else needs pytest.
deployed: what a fixture gives: a service with its instances, asked through the daemon's client.
"""
