//! rbox-images
