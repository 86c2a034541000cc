//! What a consumer or a producer of one partition has of its broker.

use std::sync::Arc;

use crate::{Connection, Error, Result};

pub(crate) enum Link {
    Down,
    Up(Arc<Connection>),
    Over(Error),
}

impl Link {
    /// Whether what was just created on a connection stays. `lost`: the broker closed it again meanwhile.
    ///
    /// # Errors
    /// The reason for which it is over; [`Error::Disconnected`] where it is lost.
    pub(crate) fn may_rise(&self, lost: bool, connection: &Connection, what: &str) -> Result<()> {
        match self {
            Self::Over(error) => Err(error.clone()),
            _ if lost => Err(Error::Disconnected {
                address: connection.address().into(),
                why: format!("the {what} was closed as soon as it was created").into(),
            }),
            _ => Ok(()),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self, Self::Over(_))
    }
}
