// What to call this browser in a list of browsers, for somebody who owns several.

// The first that is found: most browsers also say that they are some of those further down.
const PROGRAMS = [
  ["Edge", /Edg/],
  ["Opera", /OPR\//],
  ["Samsung Internet", /SamsungBrowser/],
  ["WeChat", /MicroMessenger/],
  ["Firefox", /Firefox|FxiOS/],
  ["Chrome", /Chrom|CriOS/],
  ["Safari", /Safari/],
];
const SYSTEMS = [
  ["Android", /Android/],
  ["iPhone", /iPhone/],
  ["iPad", /iPad/],
  ["Windows", /Windows/],
  ["Mac", /Mac OS X/],
  ["ChromeOS", /CrOS/],
  ["Linux", /Linux/],
];

/** Such as "Firefox, Android". */
export function browserLabel(agent = navigator.userAgent) {
  const names = [PROGRAMS, SYSTEMS].map((table) => table.find(([, sign]) => sign.test(agent))?.[0]);
  return names.filter(Boolean).join(", ") || "Browser";
}
