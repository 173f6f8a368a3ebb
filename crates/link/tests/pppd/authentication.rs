//! Who proves what to whom, with CHAP and PAP.

use ringup_link::{
    Authentication, CloseReason, Credentials, Demand, LinkError, Name, Secret, Secrets, Terms,
    Willing,
};

use crate::pppd_guest::{Pppd, boot};
use crate::{answer, serve, web};

/// pppd is `pppd`, we are `ringup`.
const SECRETS: &str = "pppd * sesame *\nringup * mustard *\n";

fn own(secret: &str) -> Option<Credentials> {
    Some(Credentials {
        name: Name::new("ringup").unwrap(),
        secret: Secret::new(secret).unwrap(),
    })
}

fn peers(secret: &str) -> Secrets {
    Secrets::from_iter([(Name::new("pppd").unwrap(), Secret::new(secret).unwrap())])
}

fn terms(authentication: Authentication) -> Terms {
    Terms {
        authentication,
        ..Terms::default()
    }
}

/// Why there is no link, where ours is the server.
async fn refusal(options: &str, authentication: Authentication) -> CloseReason {
    let (mut guest, wire) = boot(Pppd {
        options,
        secrets: SECRETS,
    })
    .await;
    match serve(wire, terms(authentication)).await {
        Err(LinkError::NotEstablished(reason)) => reason,
        Err(error) => panic!("not for a reason of PPP: {error}"),
        Ok(_) => panic!("there is a link: {}", guest.log().await),
    }
}

#[tokio::test]
async fn both_ends_prove_themselves_with_chap_whoever_is_the_server() {
    let authentication = Authentication {
        demand: Demand::Chap,
        peers: peers("sesame"),
        own: own("mustard"),
        ..Authentication::default()
    };
    for options in ["noipdefault", "10.9.0.1:10.9.0.2"] {
        let options = format!("auth\nrequire-chap\nname pppd\n{options}\n");
        let (mut guest, wire) = boot(Pppd {
            options: &options,
            secrets: SECRETS,
        })
        .await;
        let terms = terms(authentication.clone());
        let link = if options.contains("noipdefault") {
            serve(wire, terms).await
        } else {
            answer(wire, terms).await
        };
        let link = link.unwrap();
        guest.said("@up").await;
        web::both_ways(&link, &web::body(10_000)).await;
        let log = guest.log().await;
        for word in ["rcvd [CHAP Success", "sent [CHAP Success"] {
            assert!(log.contains(word), "no {word}: {log}");
        }
    }
}

#[tokio::test]
async fn both_ends_prove_themselves_with_pap_where_that_is_allowed() {
    let authentication = Authentication {
        demand: Demand::Pap,
        peers: peers("sesame"),
        own: own("mustard"),
        willing: Willing::ChapOrPap,
    };
    let options = "auth\nrequire-pap\nname pppd\nnoipdefault\n";
    let (mut guest, wire) = boot(Pppd {
        options,
        secrets: SECRETS,
    })
    .await;
    let link = serve(wire, terms(authentication)).await.unwrap();
    guest.said("@up").await;
    web::both_ways(&link, &web::body(10_000)).await;
    let log = guest.log().await;
    for word in ["rcvd [PAP AuthAck", "sent [PAP AuthAck"] {
        assert!(log.contains(word), "no {word}: {log}");
    }
}

#[tokio::test]
async fn a_pppd_with_a_wrong_secret_gets_no_link() {
    for demand in [Demand::Chap, Demand::Pap] {
        let authentication = Authentication {
            demand,
            peers: peers("other"),
            ..Authentication::default()
        };
        let reason = refusal("noauth\nname pppd\nnoipdefault\n", authentication).await;
        assert!(
            matches!(reason, CloseReason::PeerNotProved { .. }),
            "{demand:?}: {reason:?}"
        );
    }
}

#[tokio::test]
async fn a_pppd_without_a_secret_gets_no_link() {
    let authentication = Authentication {
        demand: Demand::Chap,
        peers: peers("sesame"),
        ..Authentication::default()
    };
    let reason = refusal("noauth\nname nobody\nnoipdefault\n", authentication).await;
    assert!(
        matches!(reason, CloseReason::PeerNotProved { .. }),
        "{reason:?}"
    );
}

#[tokio::test]
async fn a_pppd_that_does_not_believe_us_is_told_from_one_that_hangs_up() {
    for (demand, willing) in [
        ("require-chap", Willing::Chap),
        ("require-pap", Willing::ChapOrPap),
    ] {
        let options = format!("auth\n{demand}\nname pppd\nnoipdefault\n");
        let authentication = Authentication {
            own: own("other"),
            willing,
            ..Authentication::default()
        };
        let reason = refusal(&options, authentication).await;
        assert!(
            matches!(reason, CloseReason::NotBelieved { .. }),
            "{demand}: {reason:?}"
        );
    }
}

#[tokio::test]
async fn our_secret_does_not_cross_the_line_in_the_clear_unless_that_is_allowed() {
    let options = "auth\nrequire-pap\nname pppd\nnoipdefault\n";
    let (mut guest, wire) = boot(Pppd {
        options,
        secrets: SECRETS,
    })
    .await;
    let authentication = Authentication {
        own: own("mustard"),
        ..Authentication::default()
    };
    let reason = serve(wire, terms(authentication)).await.unwrap_err();
    guest.said("@exit").await;
    let log = guest.log().await;
    assert!(!log.contains("PAP AuthReq"), "{reason}: {log}");
}
