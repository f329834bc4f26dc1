//! Reading payments: one, many, those to be looked after, and sums.

use super::record::{self, PaymentRecord, PaymentState};
use super::select_payment;
use crate::database::GATEWAY;
use crate::query::{Row, query};
use crate::row::{self, millis};
use crate::{Page, PageRequest, Scope, Store, StoreError};
use tollkeep_types::{PaymentId, TenantId, WallMillis};

/// Payments that are looked after at once.
const DUE_MAX: u32 = 100;
/// Rows of a sum at most.
const SUMS_MAX: u32 = 1000;

const ONE: &str = select_payment!("WHERE id = $1 AND ($2 IS NULL OR tenant_id = $2)");

const BY_KEY: &str = select_payment!("WHERE key_digest = $1");

const LIST: &str = select_payment!(
    "WHERE ($1 IS NULL OR tenant_id = $1) AND ($2 IS NULL OR state = $2)
       AND ($3 IS NULL OR rail = $3) AND ($4 IS NULL OR route = $4)
       AND ($5 IS NULL OR created_at >= $5)
       AND ($6 IS NULL OR (created_at, id) < ($6, $7))
     ORDER BY created_at DESC, id DESC LIMIT $8"
);

const LEASE_ENDED: &str = select_payment!(
    "WHERE lease_until IS NOT NULL AND lease_until <= $1 ORDER BY lease_until LIMIT $2"
);

const TO_LOOK_AT: &str =
    select_payment!("WHERE look_at IS NOT NULL AND look_at <= $1 ORDER BY look_at LIMIT $2");

const UNKNOWN: &str = "SELECT count(*) FROM payments WHERE look_at IS NOT NULL";

const UNCOLLECTED: &str = "SELECT count(*) FROM payments
  WHERE tenant_id = $1 AND payer = $2 AND mode = 'upto' AND state IN ('unknown', 'voided')
    AND updated_at > $3";

/// What was paid for and is not delivered: by payments, and by sessions that last.
const CREDITS: &str = "SELECT unit, symbol, decimals, count(*) AS payments,
    CAST(sum(owed) AS bigint) AS total, min(since) AS oldest
  FROM (SELECT unit, symbol, decimals, received AS owed, settled_at AS since
          FROM payments WHERE state = 'credit' AND ($1 IS NULL OR tenant_id = $1)
        UNION ALL SELECT unit, symbol, decimals, money + held, created_at
          FROM sessions WHERE money + held > 0 AND ($1 IS NULL OR tenant_id = $1)) AS owed
  GROUP BY unit, symbol, decimals ORDER BY unit LIMIT $2";

/// What was earned by what; a day is one of UTC.
macro_rules! revenue {
    ($by:literal) => {
        concat!(
            "SELECT ",
            $by,
            " AS what, unit, symbol, decimals, count(*) AS payments,
               CAST(sum(earned) AS bigint) AS total
             FROM (SELECT route, rail, payments.unit, payments.symbol, payments.decimals, settled_at,
                 payments.tenant_id, received - coalesce(money + held, 0) AS earned
               FROM payments LEFT JOIN sessions ON sessions.payment_id = payments.id
               WHERE payments.state = 'spent') AS spent
             WHERE earned > 0 AND ($1 IS NULL OR tenant_id = $1)
               AND ($2 IS NULL OR settled_at >= $2)
             GROUP BY 1, unit, symbol, decimals ORDER BY 1 DESC, unit LIMIT $3"
        )
    };
}

const BY_ROUTE: &str = revenue!("route");
const BY_RAIL: &str = revenue!("rail");
const BY_DAY: &str = revenue!("CAST(settled_at / 86400000 AS text)");

/// Which payments are wanted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PaymentFilter {
    /// Those in this state.
    pub state: Option<PaymentState>,
    /// Those of this rail.
    pub rail: Option<String>,
    /// Those for this route.
    pub route: Option<String>,
    /// Those since then.
    pub since: Option<WallMillis>,
}

/// By what revenue is summed up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RevenueBy {
    /// The route.
    Route,
    /// The rail.
    Rail,
    /// The day of UTC on which the money came.
    Day,
}

/// What is owed in one token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CreditSum {
    /// The token, as CAIP-19 names it.
    pub unit: String,
    /// What it is called.
    pub symbol: String,
    /// Its decimals.
    pub decimals: u8,
    /// How many payments.
    pub payments: u64,
    /// How much, in its smallest unit.
    pub total: u64,
    /// Since when the oldest of them is owed.
    pub oldest: WallMillis,
}

/// What was earned in one token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RevenueSum {
    /// The route, the rail, or the number of the day since 1970.
    pub what: String,
    /// The token, as CAIP-19 names it.
    pub unit: String,
    /// What it is called.
    pub symbol: String,
    /// Its decimals.
    pub decimals: u8,
    /// How many payments.
    pub payments: u64,
    /// How much, in its smallest unit.
    pub total: u64,
}

impl Store {
    /// One payment.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or [`StoreError::Unavailable`].
    pub async fn payment(&self, scope: Scope, id: PaymentId) -> Result<PaymentRecord, StoreError> {
        let mut connection = self.0.read(scope).await?;
        let found = query(ONE).bind(id.to_string()).bind(scope.tenant());
        record::read(&found.fetch_one(&mut connection).await?)
    }

    /// The payment of a proof, whoever it belongs to.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn payment_of_key(&self, key: [u8; 32]) -> Result<Option<PaymentRecord>, StoreError> {
        let mut connection = self.0.read(GATEWAY).await?;
        let row = query(BY_KEY).bind(key.to_vec());
        let row = row.fetch_optional(&mut connection).await?;
        row.as_ref().map(record::read).transpose()
    }

    /// Payments, the newest first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn payments(
        &self,
        scope: Scope,
        filter: PaymentFilter,
        page: PageRequest<PaymentId>,
    ) -> Result<Page<PaymentRecord>, StoreError> {
        let (created_at, id) = page.from();
        let mut connection = self.0.read(scope).await?;
        let rows = query(LIST)
            .bind(scope.tenant())
            .bind(filter.state.map(PaymentState::as_str))
            .bind(filter.rail)
            .bind(filter.route)
            .bind(filter.since.map(millis))
            .bind(created_at)
            .bind(id)
            .bind(page.rows_asked())
            .fetch_all(&mut connection)
            .await?;
        let payments = rows.iter().map(record::read).collect::<Result<_, _>>()?;
        Ok(page.page(payments))
    }

    /// Payments that nobody works on any more though their state says so, a hundred at most.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn abandoned_payments(
        &self,
        scope: Scope,
        now: WallMillis,
    ) -> Result<Vec<PaymentRecord>, StoreError> {
        self.due(scope, LEASE_ENDED, now).await
    }

    /// Unknown payments whose time has come, a hundred at most.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn payments_to_look_at(
        &self,
        scope: Scope,
        now: WallMillis,
    ) -> Result<Vec<PaymentRecord>, StoreError> {
        self.due(scope, TO_LOOK_AT, now).await
    }

    async fn due(
        &self,
        scope: Scope,
        text: &'static str,
        now: WallMillis,
    ) -> Result<Vec<PaymentRecord>, StoreError> {
        let mut connection = self.0.read(scope).await?;
        let rows = query(text).bind(millis(now)).bind(DUE_MAX);
        let rows = rows.fetch_all(&mut connection).await?;
        rows.iter().map(record::read).collect()
    }

    /// How many payments of a payer were served since then and are not settled for.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn uncollected_payments(
        &self,
        (tenant, payer): (TenantId, &str),
        since: WallMillis,
    ) -> Result<u64, StoreError> {
        let mut connection = self.0.read(GATEWAY).await?;
        let number = query(UNCOLLECTED)
            .bind(tenant.to_string())
            .bind(payer)
            .bind(millis(since))
            .fetch_number(&mut connection)
            .await?;
        Ok(u64::try_from(number).unwrap_or(0))
    }

    /// How many payments nobody knows about.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn unknown_payments(&self, scope: Scope) -> Result<u64, StoreError> {
        let mut connection = self.0.read(scope).await?;
        let number = query(UNKNOWN).fetch_number(&mut connection).await?;
        Ok(u64::try_from(number).unwrap_or(0))
    }

    /// What is owed: paid for and not had.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn credit_sums(&self, scope: Scope) -> Result<Vec<CreditSum>, StoreError> {
        let mut connection = self.0.read(scope).await?;
        let rows = query(CREDITS).bind(scope.tenant()).bind(SUMS_MAX);
        let rows = rows.fetch_all(&mut connection).await?;
        rows.iter().map(credit).collect()
    }

    /// What was earned, since then or ever.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn revenue(
        &self,
        scope: Scope,
        by: RevenueBy,
        since: Option<WallMillis>,
    ) -> Result<Vec<RevenueSum>, StoreError> {
        let text = match by {
            RevenueBy::Route => BY_ROUTE,
            RevenueBy::Rail => BY_RAIL,
            RevenueBy::Day => BY_DAY,
        };
        let mut connection = self.0.read(scope).await?;
        let rows = query(text)
            .bind(scope.tenant())
            .bind(since.map(millis))
            .bind(SUMS_MAX)
            .fetch_all(&mut connection)
            .await?;
        rows.iter().map(earned).collect()
    }
}

fn decimals(row: &Row) -> Result<u8, StoreError> {
    let number = row::number(row, "decimals")?;
    u8::try_from(number).map_err(|_| StoreError::Unavailable("a payment can't be read".to_owned()))
}

fn credit(row: &Row) -> Result<CreditSum, StoreError> {
    Ok(CreditSum {
        unit: row::text(row, "unit")?,
        symbol: row::text(row, "symbol")?,
        decimals: decimals(row)?,
        payments: row::number(row, "payments")?,
        total: row::number(row, "total")?,
        oldest: row::time(row, "oldest")?,
    })
}

fn earned(row: &Row) -> Result<RevenueSum, StoreError> {
    Ok(RevenueSum {
        what: row::text(row, "what")?,
        unit: row::text(row, "unit")?,
        symbol: row::text(row, "symbol")?,
        decimals: decimals(row)?,
        payments: row::number(row, "payments")?,
        total: row::number(row, "total")?,
    })
}
