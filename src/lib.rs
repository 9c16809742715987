//! pcc
