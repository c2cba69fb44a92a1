// @ts-check
/** How accounts are named where there are several. */

const called = (account) => account.name || account.user;
const addressOf = ({ user, server }) => `${user}@${server}`;

/** A label of `account` that differs from those of all other `accounts`. */
export function labelOf(account, accounts) {
  const unique = (text, naming) => accounts.every((other) => other === account || naming(other) !== text);
  if (unique(called(account), called)) return called(account);
  const address = addressOf(account);
  return unique(address, addressOf) ? address : `${address}:${account.port ?? ""}`;
}
