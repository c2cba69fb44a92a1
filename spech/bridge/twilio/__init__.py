"""What telephone applications of Twilio know: TwiML documents and calls over REST."""
