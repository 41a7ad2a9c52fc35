//! The edge proxy: HTTP/1.1 forwarding, picking, tunnels.
