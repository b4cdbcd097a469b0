//! The keys that handshakes with a peer are made of. While one of them changes there is a second set, and handshakes
//! under both are answered: make before break.
//!
//! A responder cannot tell which preshared key an initiation is made with, for only the response has it in. So who does
//! not know which of two sets the other has tries them in turn, each side at its own pace, so that they meet:
//!
//! ```text
//!   initiator   first      other      first      other      2.5 s apart, each repeated after 5 s as ever
//!   responder   first      first      other      other      another set after two answers that nobody confirmed
//! ```

use crate::admission::{Admission, StaticShared};
use crate::control::Key;
use crate::counters::DropReason;
use crate::handshake_gate::Identity;
use crate::host::Millis;
use crate::index_table::IndexBase;
use crate::message::InitiationFields;
use crate::noise::OpenedStatic;
use crate::tunnel::Tunnel;

/// After so long without an answer the other set is tried, too.
const OTHER_AFTER_MS: Millis = 2_500;
/// Answers with one set that nobody confirmed, before the next is made with the other.
const UNCONFIRMED_ANSWERS: u8 = 2;

/// Which of our own key pairs: the one we have, or the one that is to follow it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Own {
    Current,
    Next,
}

/// Which of a peer's two sets of keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Which {
    #[default]
    First,
    Other,
}

impl Which {
    pub fn opposite(self) -> Self {
        match self {
            Which::First => Which::Other,
            Which::Other => Which::First,
        }
    }
}

/// One set of keys, and what handshakes with it need.
pub struct Way {
    pub own: Own,
    pub public_key: [u8; 32],
    pub preshared_key: Option<Key>,
    /// boringtun's half, made with the first handshake.
    pub tunnel: Option<Tunnel>,
    admission: Admission,
    static_shared: StaticShared,
}

impl Way {
    /// `admission` is what is known of the initiations of this public key.
    pub fn new(own: Own, public_key: [u8; 32], preshared_key: Option<Key>, admission: Admission) -> Self {
        Way {
            own,
            public_key,
            preshared_key,
            tunnel: None,
            admission,
            static_shared: StaticShared::default(),
        }
    }

    pub fn admission(&self) -> Admission {
        self.admission
    }

    fn has_keys_of(&self, other: &Way) -> bool {
        let Way { own, public_key, preshared_key, .. } = other;
        self.own == *own && self.public_key == *public_key && self.preshared_key == *preshared_key
    }
}

pub struct Ways {
    pub first: Way,
    pub other: Option<Way>,
    /// The set that handshakes begin with: what worked last, or what is to be gone over to.
    active: Which,
    /// The set that the last handshake was made with.
    made_with: Which,
    /// The set of the last answers, and how many of them in a row nobody confirmed.
    answered: (Which, u8),
    /// When the set that is not active is tried, too.
    other_due: Option<Millis>,
}

impl Ways {
    pub fn new(first: Way) -> Self {
        Ways {
            first,
            other: None,
            active: Which::First,
            made_with: Which::First,
            answered: (Which::First, 0),
            other_due: None,
        }
    }

    pub fn get_mut(&mut self, which: Which) -> Option<&mut Way> {
        match which {
            Which::First => Some(&mut self.first),
            Which::Other => self.other.as_mut(),
        }
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Way> {
        std::iter::once(&mut self.first).chain(&mut self.other)
    }

    /// Takes all tunnels away and gives their indices.
    pub fn take_tunnels(&mut self) -> Vec<IndexBase> {
        self.other_due = None;
        self.all().filter_map(|way| way.tunnel.take()).map(|tunnel| tunnel.index()).collect()
    }

    /// The set that handshakes begin with.
    pub fn active(&self) -> Which {
        self.active
    }

    pub fn made_with(&self) -> Which {
        self.made_with
    }

    /// Whose tunnel answers to `receiver_index`.
    pub fn with_index(&mut self, receiver_index: u32) -> Option<Which> {
        let base = IndexBase::of(receiver_index);
        let has = |way: &Way| way.tunnel.as_ref().is_some_and(|tunnel| tunnel.index() == base);
        if has(&self.first) {
            return Some(Which::First);
        }
        self.other.as_ref().is_some_and(has).then_some(Which::Other)
    }

    /// Adds a second set, in the place of one that was there, which comes back. One that is there already is not added.
    pub fn add(&mut self, mut way: Way) -> Option<Way> {
        if self.all().any(|known| known.has_keys_of(&way)) {
            return None;
        }
        if self.first.public_key == way.public_key {
            // One key is one sender: what it said once is not taken again under the other set.
            way.admission = self.first.admission;
        }
        let former = self.other.replace(way);
        self.begin_again();
        former
    }

    /// Keeps one set: `Other` takes the place of the first. Gives the set that goes, if there were two.
    pub fn settle(&mut self, kept: Which) -> Option<Way> {
        let other = self.other.take()?;
        let gone = match kept {
            Which::First => other,
            Which::Other => std::mem::replace(&mut self.first, other),
        };
        self.begin_again();
        Some(gone)
    }

    fn begin_again(&mut self) {
        self.active = Which::First;
        self.made_with = Which::First;
        self.answered = (Which::First, 0);
        self.other_due = None;
    }

    /// From now on handshakes begin with the second set, if there is one.
    pub fn prefer_other(&mut self) {
        if self.other.is_some() {
            self.active = Which::Other;
            self.answered = (Which::Other, 0);
        }
    }

    /// An initiation left: should nobody answer, the other set follows.
    pub fn sent_initiation(&mut self, now: Millis) {
        if self.other.is_some() && self.other_due.is_none() {
            self.other_due = Some(now + OTHER_AFTER_MS);
        }
    }

    /// The set that is to be tried now because the active one was not answered. Said once.
    pub fn take_due(&mut self, now: Millis) -> Option<Which> {
        self.other_due.take_if(|due| now >= *due).map(|_| self.active.opposite())
    }

    /// A handshake was made with this set: the tunnel of the other comes back, for what it began no longer counts.
    pub fn completed(&mut self, which: Which) -> Option<Tunnel> {
        self.active = which;
        self.made_with = which;
        self.answered = (which, 0);
        self.other_due = None;
        self.get_mut(which.opposite()).and_then(|way| way.tunnel.take())
    }

    /// The peer confirmed our last answer.
    pub fn confirmed(&mut self) -> Option<Tunnel> {
        let (which, _) = self.answered;
        self.completed(which)
    }

    /// Whether an initiation in this peer's name to the key pair `own` is its own and newer than all before it, and the
    /// set to answer it with. What passes counts as accepted, whatever the tunnel makes of it.
    pub fn admit(
        &mut self,
        (own, identity): (Own, &Identity),
        opened: &OpenedStatic,
        initiation: &InitiationFields<'_>,
        now: Millis,
    ) -> Result<Which, DropReason> {
        let (answered, unconfirmed) = self.answered;
        let fits = |way: &Way| way.own == own && way.public_key == opened.key;
        let which = match (fits(&self.first), self.other.as_ref().is_some_and(fits)) {
            (true, true) if unconfirmed == 0 => self.active,
            (true, true) if unconfirmed < UNCONFIRMED_ANSWERS => answered,
            (true, true) => answered.opposite(),
            (true, false) => Which::First,
            (false, true) => Which::Other,
            (false, false) => return Err(DropReason::UnknownPeer),
        };
        let way = self.get_mut(which).ok_or(DropReason::UnknownPeer)?;
        let shared = way.static_shared.with(identity.public(), || identity.agree(&opened.key));
        let timestamp = opened.open_timestamp(initiation, shared).ok_or(DropReason::BadHandshake)?;
        for way in self.all().filter(|way| way.public_key == opened.key) {
            way.admission.admit(timestamp, now)?;
        }
        self.answered = if which == answered { (which, unconfirmed.saturating_add(1)) } else { (which, 1) };
        Ok(which)
    }
}
