use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus, UserInfo};

use crate::layout::HELPER_AUDIENCE;

/// The pod that a token was made for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Identity {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

/// Why a token proves no pod of ours.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum BadToken {
    /// Expired, forged, of a pod that is gone, for somebody else, or no token.
    #[error("the API server does not accept the token for the node helper: {0}")]
    NotAccepted(String),
    #[error("the token is that of a pod on node {0}")]
    OtherNode(String),
    #[error("the token names no pod and node: {0} is missing")]
    Unbound(&'static str),
}

/// The question to the API server.
pub(super) fn question(token: String) -> TokenReview {
    let spec = TokenReviewSpec { audiences: Some(vec![HELPER_AUDIENCE.to_owned()]), token: Some(token) };
    TokenReview { spec, ..TokenReview::default() }
}

/// The pod that the answer vouches for, if it is on `node`.
///
/// The keys of `extra` are those of a token that is bound to a pod (Kubernetes' ServiceAccountTokenPodNodeInfo, on by default
/// since 1.30).
pub(super) fn identity(answer: &TokenReviewStatus, node: &str) -> Result<Identity, BadToken> {
    let is_for_us = answer.audiences.as_ref().is_some_and(|for_whom| for_whom.iter().any(|one| one == HELPER_AUDIENCE));
    if answer.authenticated != Some(true) || !is_for_us {
        return Err(BadToken::NotAccepted(answer.error.clone().unwrap_or_default()));
    }
    let user = answer.user.as_ref().ok_or(BadToken::Unbound("user"))?;
    let account = user.username.as_deref().and_then(|name| name.strip_prefix("system:serviceaccount:"));
    let (namespace, _) = account.and_then(|account| account.split_once(':')).ok_or(BadToken::Unbound("username"))?;
    let on = extra(user, NODE_NAME)?;
    if on != node {
        return Err(BadToken::OtherNode(on.to_owned()));
    }
    let (name, uid) = (extra(user, POD_NAME)?, extra(user, POD_UID)?);
    Ok(Identity { namespace: namespace.to_owned(), name: name.to_owned(), uid: uid.to_owned() })
}

fn extra<'a>(user: &'a UserInfo, key: &'static str) -> Result<&'a str, BadToken> {
    match user.extra.as_ref().and_then(|extra| extra.get(key)).map(Vec::as_slice) {
        Some([value]) if !value.is_empty() => Ok(value),
        _ => Err(BadToken::Unbound(key)),
    }
}

const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> TokenReviewStatus {
        let extra = [(NODE_NAME, "node-a"), (POD_NAME, "web-0"), (POD_UID, "uid-1")];
        let extra = extra.map(|(key, value)| (key.to_owned(), vec![value.to_owned()]));
        let username = Some("system:serviceaccount:shop:web".to_owned());
        let user = UserInfo { extra: Some(extra.into()), username, ..UserInfo::default() };
        let audiences = Some(vec![HELPER_AUDIENCE.to_owned()]);
        TokenReviewStatus { audiences, authenticated: Some(true), error: None, user: Some(user) }
    }

    #[test]
    fn a_token_of_a_pod_on_this_node_names_the_pod() {
        let expected = Identity { namespace: "shop".into(), name: "web-0".into(), uid: "uid-1".into() };

        assert_eq!(identity(&answer(), "node-a"), Ok(expected));
    }

    #[test]
    fn any_other_answer_names_none() {
        let without = |key: &str| {
            let mut answer = answer();
            answer.user.as_mut().unwrap().extra.as_mut().unwrap().remove(key);
            answer
        };
        let not_accepted = || BadToken::NotAccepted(String::new());
        let cases = [
            (TokenReviewStatus { authenticated: Some(false), ..answer() }, not_accepted()),
            (TokenReviewStatus { authenticated: None, ..answer() }, not_accepted()),
            (TokenReviewStatus { audiences: None, ..answer() }, not_accepted()),
            (TokenReviewStatus { audiences: Some(vec!["api".into()]), ..answer() }, not_accepted()),
            (TokenReviewStatus { user: None, ..answer() }, BadToken::Unbound("user")),
            (without(NODE_NAME), BadToken::Unbound(NODE_NAME)),
            (without(POD_NAME), BadToken::Unbound(POD_NAME)),
            (without(POD_UID), BadToken::Unbound(POD_UID)),
        ];
        for (answer, expected) in cases {
            assert_eq!(identity(&answer, "node-a"), Err(expected), "{answer:?}");
        }
        assert_eq!(identity(&answer(), "node-b"), Err(BadToken::OtherNode("node-a".into())));
    }

    #[test]
    fn a_user_who_is_no_service_account_is_refused() {
        let mut answer = answer();
        answer.user.as_mut().unwrap().username = Some("admin".into());

        assert_eq!(identity(&answer, "node-a"), Err(BadToken::Unbound("username")));
    }
}
