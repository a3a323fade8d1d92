//! What a key's limits say about a request without counting: which models it may ask, and from where.

use std::net::IpAddr;

use openapi::error::ApiError;

use super::KeyLimits;

impl KeyLimits {
    /// True when every list of models has this name. Names and content addresses are compared as they are sent: to
    /// allow a content address is not to allow whatever else bears the model's name.
    pub fn allow_model(&self, model: &str) -> bool {
        self.all()
            .iter()
            .filter_map(|limits| limits.models.as_ref())
            .all(|models| models.iter().any(|name| name == model))
    }

    /// Refuses models that the key may not ask as if they didn't exist.
    ///
    /// # Errors
    /// When the model is not allowed.
    pub fn check_model(&self, model: &str) -> Result<(), ApiError> {
        if self.allow_model(model) { Ok(()) } else { Err(ApiError::model_not_found(model)) }
    }

    /// Refuses addresses that the key may not be used from.
    ///
    /// # Errors
    /// When the address is in none of the networks of one of the lists.
    pub fn check_address(&self, address: IpAddr) -> Result<(), ApiError> {
        let address = address.to_canonical();
        let lists = self.all().into_iter().filter_map(|limits| limits.networks.as_ref());
        if lists.into_iter().all(|networks| networks.iter().any(|network| network.contains(&address))) {
            return Ok(());
        }
        let message = format!("The address {address} is not in the networks that this API key may be used from.");
        Err(ApiError::new(403, "invalid_request_error", Some("ip_not_authorized"), message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::address::network;
    use crate::limits::Limits;

    fn models(names: &[&str]) -> Limits {
        Limits { models: Some(names.iter().map(|&name| name.to_owned()).collect()), ..Limits::default() }
    }

    fn networks(texts: &[&str]) -> Limits {
        Limits { networks: Some(texts.iter().map(|text| network(text).unwrap()).collect()), ..Limits::default() }
    }

    #[test]
    fn a_model_must_be_in_every_list() {
        let none = KeyLimits::default();
        assert_eq!(none.check_model("anything"), Ok(()));
        let limits = KeyLimits { key: models(&["a", "b"]), account: models(&["b", "c"]), ..none };
        assert_eq!(limits.check_model("b"), Ok(()));
        for model in ["a", "c", "B", "b ", ""] {
            assert_eq!(limits.check_model(model), Err(ApiError::model_not_found(model)), "{model}");
        }
        assert!(!KeyLimits { user: models(&[]), ..KeyLimits::default() }.allow_model("a"));
    }

    #[test]
    fn an_address_must_be_in_a_network_of_every_list() {
        let check = |limits: &KeyLimits, address: &str| limits.check_address(address.parse().unwrap());
        let none = KeyLimits::default();
        assert_eq!(check(&none, "203.0.113.7"), Ok(()));
        let limits = KeyLimits {
            key: networks(&["203.0.113.0/24", "2001:db8::/32"]),
            user: networks(&["203.0.113.7", "2001:db8::1"]),
            ..none
        };
        for address in ["203.0.113.7", "::ffff:203.0.113.7", "2001:db8::1"] {
            assert_eq!(check(&limits, address), Ok(()), "{address}");
        }
        for address in ["203.0.113.8", "203.0.114.7", "2001:db8::2", "::1"] {
            let error = check(&limits, address).unwrap_err();
            assert_eq!((error.status, error.detail.code.as_deref()), (403, Some("ip_not_authorized")));
            assert!(error.detail.message.contains(address), "{}", error.detail.message);
        }
    }
}
