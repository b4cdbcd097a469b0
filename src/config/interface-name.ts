// What an interface can be called.

/** Linux' IFNAMSIZ less its end, and the characters that wg-quick takes. */
export const INTERFACE_NAME = /^(?!\.{1,2}$)[a-zA-Z0-9_=+.-]{1,15}$/;
