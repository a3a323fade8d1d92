//! The console: the files of `gateway/console`, carried in the program, for people with a browser. They are the same for
//! everybody; whatever is somebody's they ask the API for.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use data_encoding::HEXLOWER;
use rust_embed::{EmbeddedFile, RustEmbed};

const HOME: &str = "/console/";
const FIRST: &str = "index.html";
/// The page that verifies receipts, for everybody.
const VERIFY: &str = "verify/index.html";
/// Nothing from elsewhere, nothing inline, no frame around it, and no form but those that scripts see to.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// The same for [`VERIFY`], which runs the verifier: WebAssembly counts as evaluated.
const VERIFY_POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data:; \
                             connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

#[derive(RustEmbed)]
#[folder = "console"]
struct Files;

/// `/console` and everything below it, and `/verify`.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/console", get(redirect))
        .route(HOME, get(async |headers: HeaderMap| file(FIRST, &headers)))
        .route("/verify", get(async |headers: HeaderMap| file(VERIFY, &headers)))
        .route("/console/{*path}", get(async |Path(path): Path<String>, headers: HeaderMap| file(&path, &headers)))
}

/// Leads to the console.
pub async fn redirect() -> Redirect {
    Redirect::to(HOME)
}

/// True for whoever wants to look at a page.
pub fn is_browser(method: &Method, headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let mut kinds = accepts.flat_map(|line| line.split(',')).filter_map(|kind| kind.split(';').next());
    matches!(*method, Method::GET | Method::HEAD) && kinds.any(|kind| kind.trim().eq_ignore_ascii_case("text/html"))
}

fn file(path: &str, headers: &HeaderMap) -> Response {
    let mut response = match Files::get(path) {
        Some(file) => found(path, file, headers),
        None => {
            (StatusCode::NOT_FOUND, "There is nothing at this path. The console is at /console/.\n").into_response()
        }
    };
    let policy = if path == VERIFY { VERIFY_POLICY } else { POLICY };
    let all = [(CONTENT_SECURITY_POLICY, policy), (REFERRER_POLICY, "no-referrer"), (OPENER_POLICY, "same-origin")];
    for (name, value) in all {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn found(path: &str, file: EmbeddedFile, headers: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", HEXLOWER.encode(&file.metadata.sha256_hash()[..16]));
    // It may be kept, and is asked for each time whether it still is the one: a new gateway has a new console at once.
    let about = [(ETAG, tag.clone()), (CACHE_CONTROL, "no-cache".to_owned())];
    if knows(headers, &tag) {
        return (StatusCode::NOT_MODIFIED, about).into_response();
    }
    let body = Body::from(Bytes::from(file.data.into_owned()));
    ([(CONTENT_TYPE, content_type(path))], about, body).into_response()
}

/// True when the browser has this version already.
fn knows(headers: &HeaderMap, tag: &str) -> bool {
    let lines = headers.get_all(IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
    let mut known = lines.flat_map(|line| line.split(',')).map(str::trim);
    // Proxies that compress call a tag weak.
    known.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("wasm") => "application/wasm",
        _ => "text/plain; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use http_body_util::BodyExt;
    use tower_service::Service;

    use super::*;

    async fn ask(method: Method, path: &str, headers: &[(HeaderName, &str)]) -> (StatusCode, HeaderMap, Bytes) {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let response = routes::<()>().call(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts.status, parts.headers, body.collect().await.unwrap().to_bytes())
    }

    #[tokio::test]
    async fn a_browser_finds_the_console_and_keeps_what_has_not_changed() {
        let (status, headers, _) = ask(Method::GET, "/console", &[]).await;
        assert_eq!((status, headers["location"].to_str().unwrap()), (StatusCode::SEE_OTHER, HOME));
        let (status, headers, body) = ask(Method::GET, HOME, &[]).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(headers[CONTENT_TYPE], "text/html; charset=utf-8");
        assert_eq!(headers[CACHE_CONTROL], "no-cache");
        assert_eq!(headers[CONTENT_SECURITY_POLICY], POLICY);
        assert!(body.starts_with(b"<!doctype html>"));
        let tag = headers[ETAG].to_str().unwrap().to_owned();
        for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
            let (status, headers, body) = ask(Method::GET, HOME, &[(IF_NONE_MATCH, &known)]).await;
            assert_eq!((status, body.len()), (StatusCode::NOT_MODIFIED, 0), "{known}");
            assert_eq!(headers[ETAG], tag);
        }
        let (status, _, body) = ask(Method::GET, HOME, &[(IF_NONE_MATCH, "\"other\"")]).await;
        assert_eq!((status, body.is_empty()), (StatusCode::OK, false));
        let (status, headers, body) = ask(Method::HEAD, "/console/app.js", &[]).await;
        assert_eq!((status, body.len()), (StatusCode::OK, 0));
        assert_eq!(headers[CONTENT_TYPE], "text/javascript; charset=utf-8");
    }

    #[tokio::test]
    async fn anybody_verifies_receipts_and_only_there_may_webassembly_run() {
        let (status, headers, body) = ask(Method::GET, "/verify", &[]).await;
        assert_eq!((status, headers[CONTENT_SECURITY_POLICY].to_str().unwrap()), (StatusCode::OK, VERIFY_POLICY));
        assert_eq!(VERIFY_POLICY.replace(" 'wasm-unsafe-eval'", ""), POLICY);
        assert!(body.starts_with(b"<!doctype html>"));
        let (status, headers, body) = ask(Method::GET, "/console/vendor/verifier.wasm", &[]).await;
        assert_eq!((status, headers[CONTENT_TYPE].to_str().unwrap()), (StatusCode::OK, "application/wasm"));
        assert!(body.starts_with(b"\0asm"));
    }

    #[tokio::test]
    async fn what_is_not_there_is_said_in_words_and_nothing_else_is_reached() {
        for path in
            ["/console/nothing.js", "/console/../Cargo.toml", "/console/%2e%2e/Cargo.toml", "/console//etc/passwd"]
        {
            let (status, headers, _) = ask(Method::GET, path, &[]).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
            if let Some(kind) = headers.get(CONTENT_TYPE) {
                assert_eq!(kind, "text/plain; charset=utf-8", "{path}");
            }
        }
    }

    #[test]
    fn every_page_and_its_licences_are_carried_and_nothing_is_inline() {
        let files: Vec<_> = Files::iter().collect();
        for needed in ["index.html", "app.js", "style.css", "pages/keys.js", VERIFY, "vendor/LICENSE-uPlot"] {
            assert!(files.iter().any(|file| file == needed), "{needed}");
        }
        for path in files {
            if path.starts_with("vendor/") {
                continue;
            }
            let text = String::from_utf8(Files::get(&path).unwrap().data.into_owned()).unwrap();
            for refused in ["dangerouslySetInnerHTML", "innerHTML", " style=", "http://cdn", "https://cdn"] {
                assert!(!text.contains(refused), "{path}: {refused}");
            }
        }
    }

    #[test]
    fn only_whoever_wants_a_page_is_led_to_the_console() {
        let accepting = |text: &'static str| HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(text))]);
        let browser = accepting("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");
        assert!(is_browser(&Method::GET, &browser) && is_browser(&Method::HEAD, &browser));
        assert!(!is_browser(&Method::POST, &browser));
        for other in ["*/*", "application/json", "text/htmlx"] {
            assert!(!is_browser(&Method::GET, &accepting(other)), "{other}");
        }
        assert!(!is_browser(&Method::GET, &HeaderMap::new()));
    }
}
