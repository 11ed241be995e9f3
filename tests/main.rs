//! Every test drives the real programs.
