"""The management server: API, admission, host streams, readiness, in one asyncio process."""
