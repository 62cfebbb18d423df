"""From start to stop."""


def test_it_ends_cleanly_when_asked(start):
    service = start("--simulate")
    assert service.get("/health").json()["status"] == "healthy"
    assert service.stop() == 0
