use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use kube::Client;
use kube::client::Body;
use serde_json::json;
use tokio::sync::Barrier;

use crate::lab::{Lab, Operator};

#[tokio::test]
async fn member_and_claim_and_then_status_and_secret_are_written_at_once() {
    let lab = Lab::new("together").await;
    let pairs = Arc::new(Pairs::default());
    let operator = Operator::start(pairs.clone().in_front_of(lab.client.clone(), &lab.namespace)).await;
    lab.mesh("m", json!({})).await;
    lab.mesh_when("m", |mesh| mesh.status.as_ref().is_some_and(|status| !status.address_pools.is_empty())).await;
    let namespace = format!("/namespaces/{}", lab.namespace);
    pairs.add([format!("POST {namespace}/tunmeshmembers"), "POST /tunmeshaddresses".to_owned()]);
    pairs.add([format!("PUT {namespace}/tunmeshmembers/web/status"), format!("POST {namespace}/secrets")]);

    lab.pod("web", "m", json!({})).await;

    lab.member("web", |member| member.status.as_ref().is_some_and(|status| status.material.is_some())).await;
    assert!(lab.secret("tunmesh-web").await.contains_key("tls.crt"));
    assert!(pairs.0.lock().unwrap().is_empty(), "all four were sent");
    operator.stop().await;
}

/// Requests of which none is passed on before its companion is there, too; by method and end of the path.
#[derive(Default)]
struct Pairs(Mutex<HashMap<String, Arc<Barrier>>>);

impl Pairs {
    fn add(&self, pair: [String; 2]) {
        let both = Arc::new(Barrier::new(2));
        self.0.lock().unwrap().extend(pair.map(|request| (request, both.clone())));
    }

    /// The first request of a kind takes it out.
    fn companion(&self, request: &hyper::Request<Body>) -> Option<Arc<Barrier>> {
        let mut pairs = self.0.lock().unwrap();
        let (method, path) = (request.method().as_str(), request.uri().path());
        let is_this =
            |known: &String| known.split_once(' ').is_some_and(|(of, end)| of == method && path.ends_with(end));
        let known = pairs.keys().find(|known| is_this(known))?.clone();
        pairs.remove(&known)
    }

    fn in_front_of(self: Arc<Self>, client: Client, namespace: &str) -> Client {
        let service = tower::service_fn(move |request| {
            let (client, companion) = (client.clone(), self.companion(&request));
            async move {
                if let Some(both) = companion {
                    both.wait().await;
                }
                client.send(request).await
            }
        });
        Client::new(service, namespace)
    }
}
