// Runs the code of docs/orms.md for Prisma: prints what each token sees as JSON.
import { inspect } from 'node:util'
import { PrismaPg } from '@prisma/adapter-pg'
import { PrismaClient } from './client/index.js'
import { as } from './shop.mjs'

const rest = process.argv.slice(3)
const numbers = async (tx) => (await tx.invoice.findMany()).map((row) => row.number).sort()
for (let i = 0; i < rest.length; i += 2) {
  try {
    console.log(JSON.stringify(await as(rest[i], async (tx) => {
      await tx.invoice.create({ data: { number: rest[i + 1] } })
      return numbers(tx)
    })))
  } catch (error) {
    console.log(JSON.stringify(`${inspect(error, { depth: 9 })} ${error.stack}`))
  }
}
console.log(JSON.stringify(await numbers(new PrismaClient({ adapter: new PrismaPg({ connectionString: process.env.DATABASE_URL }) }))))
process.exit()
