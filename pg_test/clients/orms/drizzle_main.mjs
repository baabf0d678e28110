// Runs the code of docs/orms.md for Drizzle: `migrate`, or `use`, which prints what each token sees as JSON.
import { inspect } from 'node:util'
import { drizzle } from 'drizzle-orm/node-postgres'
import { migrate } from 'drizzle-orm/node-postgres/migrator'

const [action, ...rest] = process.argv.slice(2)
if (action === 'migrate') {
  await migrate(drizzle(process.env.DATABASE_URL), { migrationsFolder: 'migrations' })
  process.exit()
}
const { as, invoice } = await import('./shop.mjs')
const numbers = async (tx) => (await tx.select({ number: invoice.number }).from(invoice)).map((row) => row.number).sort()
for (let i = 0; i < rest.length; i += 2) {
  try {
    console.log(JSON.stringify(await as(rest[i], async (tx) => {
      await tx.insert(invoice).values({ number: rest[i + 1] })
      return numbers(tx)
    })))
  } catch (error) {
    console.log(JSON.stringify(`${inspect(error, { depth: 9 })} ${error.stack}`))
  }
}
console.log(JSON.stringify(await numbers(drizzle(process.env.DATABASE_URL))))
process.exit()
