// The same as browser.mjs does for a login, in headless Chromium.
//
//   node chromium.mjs URL '' USER sign-in|abort
import puppeteer from 'puppeteer-core';

const [url, , user, decision] = process.argv.slice(2);
const browser = await puppeteer.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'], // the tests may run as root, in a container
});
try {
  const page = await browser.newPage();
  await page.goto(url);
  const go = (act) => Promise.all([page.waitForNavigation(), act()]);
  if (decision === 'abort') {
    await go(() => page.click('a[href$="/abort"]'));
  } else {
    await page.type('input[name=login]', user);
    await page.type('input[name=password]', 'any');
    await go(() => page.click('button[type=submit]'));
    await go(() => page.click('button[type=submit]'));
  }
  console.log(await page.$eval('h1', (heading) => heading.textContent));
} finally {
  await browser.close();
}
