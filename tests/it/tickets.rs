//! A ticket is the gateway's own word, whatever comes in its place. As in `tests/fuzz`, whose targets can't name the node.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use fuzz::{jws, replay};
use openapi::node::TICKET_HEADER;
use provider::ticket::TicketVerifier;
use uuid::Uuid;

#[test]
fn a_ticket_is_the_gateway_s_own() {
    let node = Uuid::from_u128(7);
    let verifier = TicketVerifier::new(node, &jws::public_text()).unwrap();
    replay::replay("ticket", 10_000, |bytes| {
        jws::check(bytes, |text| {
            let value = HeaderValue::from_str(text).ok()?;
            let ticket =
                verifier.verify(&HeaderMap::from_iter([(HeaderName::from_static(TICKET_HEADER), value)])).ok()?;
            assert_eq!(ticket.aud, node);
            Some(ticket)
        });
    });
}
