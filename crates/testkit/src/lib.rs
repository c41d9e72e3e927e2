//! Test servers and conformance suites.
