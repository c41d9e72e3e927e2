//! Use cases, authorisation, audit and background tasks of the control plane.
