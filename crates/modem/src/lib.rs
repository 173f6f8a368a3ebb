//! modem
