//! The `Authorization` header: a JWT (RFC 7519, HS256) that binds one HTTP body to its sender, its reader and a shared
//! secret.
//!
//! ```text
//! Authorization: Bearer: <header>.<claims>.<signature>          with the colon, in requests and in responses
//! header   {"alg":"HS256"}
//! claims   {"iss":<sender>,"iat":<s>,"nbf":<s>,"exp":<s>,"aud":<reader>,"sig":"0/<sha-256 of the body>","sub":<token id>}
//! ```
//!
//! The checks of `exp` and `nbf` that come with the JWT library read the clock, so they are switched off and done here.

use std::fmt;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{BodyDigest, NodeId, Secret, UnixTime, Window, Windows};

/// A shared secret and the name both sides know it by.
pub struct Token {
    id: Box<str>,
    signing: EncodingKey,
    verifying: DecodingKey,
}

impl Token {
    /// The token of the cluster secret, which all nodes of a mesh share.
    pub fn cluster(secret: &Secret) -> Self {
        Self::new(CLUSTER_ID, secret)
    }

    /// The token of a session secret, valid for one direction between two nodes.
    pub fn session(id: &str, secret: &Secret) -> Self {
        Self::new(id, secret)
    }

    /// What the `sub` claim says: `Cluster Auth`, or the id that the maker of a session gave it.
    pub fn id(&self) -> &str {
        &self.id
    }

    fn new(id: &str, secret: &Secret) -> Self {
        let (signing, verifying) =
            (EncodingKey::from_secret(secret.as_bytes()), DecodingKey::from_secret(secret.as_bytes()));
        Self { id: id.into(), signing, verifying }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Signs `body` and returns the value of the Authorization header, byte for byte as the original writes it.
pub fn authorize(
    token: &Token,
    issuer: &NodeId,
    audience: &NodeId,
    body: BodyDigest,
    windows: &Windows,
    now: UnixTime,
) -> String {
    let iat = now.as_secs();
    let claims = Claims {
        iss: issuer.as_str(),
        iat,
        nbf: Instant::at(iat, -windows.early.seconds, windows.early),
        exp: Instant::at(iat, windows.validity.seconds, windows.validity),
        aud: audience.as_str(),
        sig: body.to_claim(),
        sub: &token.id,
    };
    let header = Header { typ: None, ..Header::new(Algorithm::HS256) };
    let jwt = encode(&header, &claims, &token.signing).expect("strings and numbers serialise and any key fits an HMAC");
    ["Bearer: ", &jwt].concat()
}

/// Checks all of an Authorization header value that can be checked before the body is read.
///
/// `tokens` are those valid here and now; the first with a fitting signature counts. Absent `exp`, `nbf` and `iat` are
/// accepted and `iat` is ignored, as in the original; `exp` must be later than `now`, in whole seconds, with no leeway.
pub fn verify<'t>(
    header: &[u8],
    tokens: &[&'t Token],
    audience: &NodeId,
    now: UnixTime,
) -> Result<Verified<'t>, AuthError> {
    let jwt = bearer(header).ok_or(AuthReason::Scheme)?;
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let (token, claims) = tokens
        .iter()
        .find_map(|token| Some((*token, decode::<Map<String, Value>>(jwt, &token.verifying, &validation).ok()?.claims)))
        .ok_or(AuthReason::Signature)?;

    if text(&claims, "sub") != Some(token.id()) {
        return Err(AuthReason::Subject.into());
    }
    if text(&claims, "aud") != Some(audience.as_str()) {
        return Err(AuthReason::Audience.into());
    }
    if seconds(&claims, "exp").map_err(|()| AuthReason::Expired)?.is_some_and(|exp| exp <= now.as_secs() as f64) {
        return Err(AuthReason::Expired.into());
    }
    if seconds(&claims, "nbf").map_err(|()| AuthReason::Early)?.is_some_and(|nbf| nbf > now.as_secs() as f64) {
        return Err(AuthReason::Early.into());
    }
    let body = text(&claims, "sig").and_then(BodyDigest::from_claim).ok_or(AuthReason::Body)?;
    Ok(Verified { issuer: text(&claims, "iss").and_then(|iss| iss.parse().ok()), token, body })
}

/// A header that passed every check but the one against the body.
#[derive(Debug)]
#[must_use = "the body is not checked yet"]
pub struct Verified<'t> {
    /// The `iss` claim; `None` if it is absent or no node id. Only the holder of the secret is proven, not this name.
    pub issuer: Option<NodeId>,
    /// The token that signed.
    pub token: &'t Token,
    body: BodyDigest,
}

impl Verified<'_> {
    /// Checks that the body that was read is the one that was signed.
    pub fn matches(&self, body: BodyDigest) -> Result<(), AuthError> {
        if self.body == body { Ok(()) } else { Err(AuthReason::Body.into()) }
    }
}

/// A message that is not to be trusted.
///
/// It prints the same for every cause, so that an answer or a page built from it tells an attacker nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unauthorized")]
pub struct AuthError {
    reason: AuthReason,
}

impl AuthError {
    /// What exactly was wrong: for our own log, not for the peer.
    pub fn reason(self) -> AuthReason {
        self.reason
    }
}

impl From<AuthReason> for AuthError {
    fn from(reason: AuthReason) -> Self {
        Self { reason }
    }
}

/// The first check that a message failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthReason {
    /// `aud` is absent, a list, or names another node.
    #[error("the token is for another node")]
    Audience,
    /// `sig` is absent, of another form, or of another body.
    #[error("the token is for another body")]
    Body,
    /// `nbf` is later than now, or no number.
    #[error("the token is not valid yet")]
    Early,
    /// `exp` is not later than now, or no number.
    #[error("the token has expired")]
    Expired,
    /// Not the word `Bearer:` and one other word.
    #[error("the header is not of the form \"Bearer: <token>\"")]
    Scheme,
    /// Not a JWT, not HS256, or signed with none of our secrets.
    #[error("no known secret signed the token")]
    Signature,
    /// `sub` is absent or names another token than the secret that signed.
    #[error("the token names another secret than the one that signed it")]
    Subject,
}

/// Fields in the order of the original.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    iat: u64,
    nbf: Instant,
    exp: Instant,
    aud: &'a str,
    sig: String,
    sub: &'a str,
}

/// Seconds since 1970 as the kind of number that the window was configured as.
#[derive(Serialize)]
#[serde(untagged)]
enum Instant {
    Float(f64),
    Integer(i64),
}

impl Instant {
    fn at(iat: u64, offset: f64, window: Window) -> Self {
        let seconds = iat as f64 + offset;
        if window.integer { Self::Integer(seconds as i64) } else { Self::Float(seconds) }
    }
}

fn bearer(header: &[u8]) -> Option<&[u8]> {
    let mut words = header.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let (scheme, jwt) = (words.next()?, words.next()?);
    (scheme.eq_ignore_ascii_case(b"bearer:") && words.next().is_none()).then_some(jwt)
}

fn text<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c str> {
    claims.get(name).and_then(Value::as_str)
}

/// The claim in whole seconds, rounded towards zero as in the original; `None` if it is absent.
fn seconds(claims: &Map<String, Value>, name: &str) -> Result<Option<f64>, ()> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_f64().map(|seconds| Some(seconds.trunc())).ok_or(()),
    }
}

/// `sub` of every token signed with the cluster secret.
const CLUSTER_ID: &str = "Cluster Auth";
