//! Authoritative DNS: zones, steered names, UDP and TCP.
