"""The UISurface operator: web apps with route, login, Keycloak client and feature flags."""
