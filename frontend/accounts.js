// @ts-check
/** How accounts are named where there are several. */

/** @import { AccountState } from "./messages.js" */

const called = (/** @type {AccountState} */ account) => account.name || account.user;
/** @param {AccountState} account */
const addressOf = ({ user, server }) => `${user}@${server}`;

/**
 * A label of `account` that differs from those of all other `accounts`.
 *
 * @param {AccountState} account
 * @param {AccountState[]} accounts
 */
export function labelOf(account, accounts) {
  const unique = (/** @type {string} */ text, /** @type {(account: AccountState) => string} */ naming) =>
    accounts.every((/** @type {AccountState} */ other) => other === account || naming(other) !== text);
  if (unique(called(account), called)) return called(account);
  const address = addressOf(account);
  return unique(address, addressOf) ? address : `${address}:${account.port ?? ""}`;
}
