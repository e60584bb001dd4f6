//! What a hostile container costs others.
