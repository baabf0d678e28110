// What a person does in a browser: with the code that a device shows, or on the page of a login. It knows HTTP, cookies and
// forms, and nothing of the provider.
//
//   node browser.mjs URL CODE USER approve|deny     types the code, confirms it, signs in and consents
//   node browser.mjs URL '' USER sign-in|abort      signs in and consents, or aborts
//
// Both print the last page's heading.

class Browser {
  #cookies = new Map();

  async open(url, options = {}) {
    const headers = { ...options.headers, cookie: [...this.#cookies.values()].join('; ') };
    const response = await fetch(url, { ...options, headers, redirect: 'manual' });
    for (const cookie of response.headers.getSetCookie()) {
      const [pair, ...attributes] = cookie.split(';').map((part) => part.trim());
      const name = pair.slice(0, pair.indexOf('='));
      const expires = attributes.find((attribute) => /^expires=/i.test(attribute));
      if (expires && new Date(expires.slice('expires='.length)) < new Date()) this.#cookies.delete(name);
      else this.#cookies.set(name, pair);
    }
    if (response.status >= 300 && response.status < 400) {
      return this.open(new URL(response.headers.get('location'), url));
    }
    return { url, html: await response.text() };
  }

  // Follows the link whose address ends so.
  follow(page, end) {
    const address = [...page.html.matchAll(/<a\b([^>]*)>/g)].map(([, link]) => attribute(link, 'href'));
    return this.open(new URL(address.find((href) => href?.endsWith(end)), page.url));
  }

  // Fills in the page's form and submits it.
  submit(page, values) {
    const form = /<form\b([^>]*)>([\s\S]*?)<\/form>/.exec(page.html);
    if (!form) throw new Error(`no form at ${page.url}: ${page.html}`);
    const fields = new URLSearchParams();
    for (const [, input] of form[2].matchAll(/<input\b([^>]*)>/g)) {
      if (attribute(input, 'name')) fields.set(attribute(input, 'name'), attribute(input, 'value') ?? '');
    }
    for (const [name, value] of Object.entries(values)) fields.set(name, value);
    const action = new URL(attribute(form[1], 'action'), page.url);
    return this.open(action, { method: 'POST', body: fields });
  }
}

const ENTITIES = { '&amp;': '&', '&quot;': '"', '&#39;': "'", '&lt;': '<', '&gt;': '>' };

function attribute(tag, name) {
  const value = new RegExp(`\\s${name}="([^"]*)"`).exec(` ${tag}`)?.[1];
  return value?.replace(/&(amp|quot|#39|lt|gt);/g, (entity) => ENTITIES[entity]);
}

function heading(page) {
  const text = (tag) => new RegExp(`<${tag}[^>]*>([^<]*)`).exec(page.html)?.[1].trim();
  return text('p class="red"') ?? text('h1') ?? page.html;
}

export async function decide(url, code, user, decision) {
  const browser = new Browser();
  let page = await browser.submit(await browser.open(url), { user_code: code });
  if (heading(page) !== 'Confirm Device') return heading(page);
  if (decision === 'deny') return heading(await browser.submit(page, { abort: 'yes' }));
  page = await browser.submit(page, {});
  page = await browser.submit(page, { login: user, password: 'any' });
  return heading(await browser.submit(page, {}));
}

// The page comes from an authorization request, and the last one is the application's.
export async function signIn(url, user, decision) {
  const browser = new Browser();
  const page = await browser.open(url);
  if (decision === 'abort') return heading(await browser.follow(page, '/abort'));
  const consent = await browser.submit(page, { login: user, password: 'any' });
  return heading(await browser.submit(consent, {}));
}

if (process.argv[1].endsWith('browser.mjs')) {
  const [url, code, user, decision] = process.argv.slice(2);
  console.log(code ? await decide(url, code, user, decision) : await signIn(url, user, decision));
}
